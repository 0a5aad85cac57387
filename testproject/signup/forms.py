"""The sign-up form."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import get_user_model, password_validation
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

User = get_user_model()


class SignupForm(forms.ModelForm):  # type: ignore[type-arg]
    """Name, e-mail and password of a new user, who signs in with the e-mail address."""

    first_name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "name", "autofocus": True}),
    )
    email = forms.EmailField(
        label=_("E-mail"),
        max_length=150,  # it becomes the user name, which takes no more
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        help_text=password_validation.password_validators_help_text_html(),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        model = User
        fields = ("first_name", "email")

    def clean_email(self) -> str:
        """The address in lower case; an error if somebody has it."""
        email = self.cleaned_data["email"] = self.cleaned_data["email"].lower()
        if self.is_known():
            raise ValidationError(_("This address is taken."), code="taken")
        return str(email)

    def is_known(self) -> bool:
        """Whether there is a user with the form's address."""
        return User.objects.filter(username=self.cleaned_data["email"]).exists()

    def _post_clean(self) -> None:
        # Only now does the instance hold name and address, which the password must not resemble.
        super()._post_clean()  # type: ignore[misc]
        password = self.cleaned_data.get("password")
        if password:
            try:
                password_validation.validate_password(password, self.instance)
            except ValidationError as error:
                self.add_error("password", error)

    def save(self, commit: bool = True) -> Any:
        """The new user. Raises IntegrityError when another request took the address just now."""
        user = super().save(commit=False)
        user.username = self.cleaned_data["email"]
        user.set_password(self.cleaned_data["password"])
        if commit:
            user.save(force_insert=True)
        return user
